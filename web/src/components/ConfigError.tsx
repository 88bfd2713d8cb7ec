import { useQuery } from '@tanstack/react-query';
import * as api from '../api/queries';
import { visible } from '../lib/safe';
import { useWords } from '../state/preferences';
import { Time } from './Time';

/** That the configuration on disk was refused, and why; the one before is in force. Nothing where all is well. */
export function ConfigError() {
  const say = useWords();
  const status = useQuery(api.status());
  const config = status.data?.config;
  if (!config?.error) return null;
  return (
    <div className="failure" role="alert">
      <div>
        <p>
          <strong>{say('config_refused')}</strong> <Time at={config.at} />
        </p>
        <ul className="problems mono">
          {config.error.split('\n').map((line) => (
            <li key={line}>
              <bdi>{visible(line)}</bdi>
            </li>
          ))}
        </ul>
        <p className="dim">{say('config_refused_help')}</p>
      </div>
    </div>
  );
}
