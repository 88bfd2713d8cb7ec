import { Button } from '@mantine/core';
import * as api from '../../api/queries';
import type { Rule, RuleStatus } from '../../api/types';
import { Remove } from '../../components/Act';
import { Empty } from '../../components/State';
import { visible } from '../../lib/safe';
import type { Word } from '../../lib/words';
import { useWords } from '../../state/preferences';
import { useSetSearch } from '../../state/search';

const sources: Record<RuleStatus['source'], Word> = { automatic: 'source_automatic', config: 'source_config', api: 'source_api', prometheus: 'source_prometheus', slo: 'source_slo' };

/** What a rule looks at, in one line. */
export function conditionText(r: Rule): string {
  if (r.composite !== undefined) return r.composite;
  if (r.math) return r.math.expr;
  const search = r.logs ?? r.spans;
  const subject = search ? `${search.value ?? 'count'} ${r.logs ? 'logs' : 'spans'} ${search.query ?? ''}${search.by?.length ? ` by ${search.by.join(', ')}` : ''}` : (r.expr ?? '');
  return r.compare ? `${subject} ${r.compare.op} ${r.compare.threshold}` : subject;
}

/** The rules in force, those that cannot be evaluated first. */
export function Rules({ rules }: { rules: RuleStatus[] }) {
  const say = useWords();
  const set = useSetSearch();
  if (rules.length === 0) return <Empty title={say('no_rules')}>{say('no_rules_teach')}</Empty>;
  const troubled = (r: RuleStatus) => Number(r.evaluation_state !== undefined && r.evaluation_state !== 'OK');
  return (
    <div className="scroll">
      <table className="grid top-aligned" aria-label={say('rules')}>
        <thead>
          <tr>
            <th scope="col">{say('rule')}</th>
            <th scope="col">{say('source')}</th>
            <th scope="col">{say('condition')}</th>
            <th scope="col">{say('evaluation')}</th>
            <th scope="col" className="num">
              {say('alarms')}
            </th>
            <th scope="col">
              <span className="visually-hidden">{say('edit')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {rules
            .toSorted((a, b) => troubled(b) - troubled(a) || a.name.localeCompare(b.name))
            .map((r) => (
              <tr key={r.name}>
                <td>
                  <bdi>{visible(r.name)}</bdi>
                  {r.description && <div className="dim small">{visible(r.description)}</div>}
                </td>
                <td className="dim">{say(sources[r.source] ?? 'source_config')}</td>
                <td className="mono rule-condition">
                  <bdi title={visible(conditionText(r))}>{visible(conditionText(r))}</bdi>
                </td>
                <td>
                  {troubled(r) ? (
                    <span className="bad" title={r.evaluation_state}>
                      ✕ <bdi>{visible(r.evaluation_reason ?? r.evaluation_state ?? '')}</bdi>
                    </span>
                  ) : (
                    <span className="good">✓ {say('ok')}</span>
                  )}
                </td>
                <td className="num">{r.alarms}</td>
                <td>
                  <span className="inline">
                    {r.source !== 'prometheus' && (
                      <Button size="compact-sm" variant="default" onClick={() => set({ view: 'edit', rule: r.name, draft: '' })}>
                        {say(r.source === 'api' ? 'edit' : 'copy_rule')}
                      </Button>
                    )}
                    {r.source === 'api' && <Remove word={say('remove')} act={() => api.deleteRule(r.name)} changes={[['alarms']]} />}
                  </span>
                </td>
              </tr>
            ))}
        </tbody>
      </table>
    </div>
  );
}
