import { Link } from '@tanstack/react-router';
import { type ReactNode, memo, useEffect, useRef, useState } from 'react';
import type { Dashboard, DashboardPanel } from '../../api/types';
import { rowHeight } from '../../lib/dashboard';
import { visible } from '../../lib/safe';
import type { Range } from '../../lib/time';
import { type Chosen, fillText } from '../../lib/variables';
import { useWords } from '../../state/preferences';
import { Contents, further } from './panels';

const gap = 8;
const headHeight = 28;

/** Panels where the dashboard puts them; on a narrow screen below each other. */
export function Grid({ dashboard, chosen, range }: { dashboard: Dashboard; chosen: Chosen; range: Range }) {
  const say = useWords();
  // Who reads by ear or on a phone meets panels in the order in which they stand.
  const list = dashboard.panels.map((panel, i) => ({ panel, i })).toSorted((a, b) => a.panel.y - b.panel.y || a.panel.x - b.panel.x);
  if (list.length === 0) return <p className="dim">{say('no_panels')}</p>;
  return (
    <div className="board">
      {list.map(({ panel, i }) => (
        <div key={i} style={{ gridColumn: `${panel.x + 1} / span ${panel.w}`, gridRow: `${panel.y + 1} / span ${panel.h}` }}>
          <PanelBox panel={panel} chosen={chosen} range={range} />
        </div>
      ))}
    </div>
  );
}

/** Whether something has come near the screen. What nobody has scrolled to asks nothing. */
function useNear(): [React.RefObject<HTMLElement | null>, boolean] {
  const ref = useRef<HTMLElement>(null);
  const [near, setNear] = useState(typeof IntersectionObserver === 'undefined');
  useEffect(() => {
    if (near || !ref.current) return;
    const watch = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && setNear(true), { rootMargin: '300px' });
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, [near]);
  return [ref, near];
}

/** One panel with its title, and the way to where its question can be asked further. Tools are of those who edit. */
export const PanelBox = memo(function PanelBox({ panel, chosen, range, tools }: { panel: DashboardPanel; chosen: Chosen; range: Range; tools?: ReactNode }) {
  const say = useWords();
  const [ref, near] = useNear();
  const title = visible(fillText(panel.title ?? '', chosen, say('all')));
  const on = further({ panel, chosen, range });
  const height = panel.h * rowHeight - gap - headHeight - 4;
  if (panel.kind === 'section') {
    return (
      <div className="panel-section spread">
        <h2>
          <bdi>{title}</bdi>
        </h2>
        {tools}
      </div>
    );
  }
  return (
    <section ref={ref} className="panel" aria-label={title || say(`kind_${panel.kind}`)}>
      <header className="panel-head">
        <h2 title={panel.description && visible(panel.description)}>
          {on && !tools ? (
            <Link to={on.to} search={on.search}>
              <bdi>{title || say(`kind_${panel.kind}`)}</bdi>
            </Link>
          ) : (
            <bdi>{title || say(`kind_${panel.kind}`)}</bdi>
          )}
        </h2>
        {tools}
      </header>
      {/* Scrolled by key where there is more than fits. */}
      <div className="panel-body" style={{ maxHeight: height }} tabIndex={panel.kind === 'line' || panel.kind === 'durations' ? undefined : 0} role="group" aria-label={title || say(`kind_${panel.kind}`)}>
        {near && <Contents panel={panel} chosen={chosen} range={range} height={height} />}
      </div>
    </section>
  );
});
