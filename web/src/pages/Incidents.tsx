import { SegmentedControl } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import * as api from '../api/queries';
import { IncidentTable } from '../components/IncidentRow';
import { Empty, Panel } from '../components/State';
import { useWords } from '../state/preferences';
import { useSearch, useSetSearch } from '../state/search';

export function Incidents() {
  const say = useWords();
  const search = useSearch();
  const set = useSetSearch();
  const status = search.status === 'open' || search.status === 'resolved' ? search.status : '';
  const q = api.incidents(status);
  const list = useQuery(q);
  return (
    <>
      <div className="spread section-head">
        <h1>{say('incidents')}</h1>
        <SegmentedControl
          size="xs"
          aria-label={say('state')}
          value={status || 'all'}
          onChange={(v) => set({ status: v === 'all' ? '' : v })}
          data={[
            { value: 'all', label: say('all') },
            { value: 'open', label: say('open') },
            { value: 'resolved', label: say('resolved') },
          ]}
        />
      </div>
      <Panel
        of={list}
        store="state_store"
        queryKey={q.queryKey}
        empty={(d) => d.incidents.length === 0 && <Empty title={say('no_incidents')}>{say('no_incidents_teach')}</Empty> || null}
      >
        {(d) => <IncidentTable list={d.incidents} />}
      </Panel>
    </>
  );
}
