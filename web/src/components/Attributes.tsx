import type { Attributes as Data } from '../api/types';
import { plain, visible } from '../lib/safe';
import { Raw } from './Raw';

/** Attributes as a table, by name. */
export function Attributes({ of: data, label }: { of: Data; label: string }) {
  const entries = Object.entries(data).toSorted(([a], [b]) => a.localeCompare(b));
  if (entries.length === 0) return null;
  return (
    <table className="attributes" aria-label={label}>
      <tbody>
        {entries.map(([k, v]) => (
          <tr key={k}>
            <td className="mono">
              <bdi>{visible(k)}</bdi>
            </td>
            <td>
              <Raw text={plain(v)} limit={500} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
