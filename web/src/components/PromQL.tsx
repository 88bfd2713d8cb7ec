import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { useEffect, useRef } from 'react';
import { address } from '../base';

const promql = () =>
  new PromQLExtension().setComplete({
    remote: { url: address('/prometheus').replace(/\/$/, ''), httpMethod: 'POST', cache: { initialMetricList: [] } },
  });

/** Colours of the style sheet, which can be read in light and dark. */
const colors = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: 'var(--c-purple)' },
  { tag: [tags.string, tags.number], color: 'var(--c-good)' },
  { tag: [tags.function(tags.variableName)], color: 'var(--c-accent)' },
  { tag: [tags.labelName, tags.propertyName], color: 'var(--c-warn)' },
  { tag: [tags.comment], color: 'var(--c-dim)', fontStyle: 'italic' },
  { tag: [tags.invalid], color: 'var(--c-bad)' },
]);

/** An editor of PromQL: names, labels and functions are completed, mistakes marked. Enter runs the query. */
export function PromQL({ value, label, onRun, onChange }: { value: string; label: string; onRun: (q: string) => void; onChange?: (q: string) => void }) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const run = useRef(onRun);
  run.current = onRun;
  const changed = useRef(onChange);
  changed.current = onChange;
  useEffect(() => {
    if (!host.current) return;
    const v = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: value,
        extensions: [
          EditorView.cspNonce.of(document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? ''),
          history(),
          bracketMatching(),
          closeBrackets(),
          syntaxHighlighting(colors),
          promql().asExtension(),
          autocompletion(),
          EditorView.lineWrapping,
          EditorView.updateListener.of((u) => u.docChanged && changed.current?.(u.state.doc.toString())),
          EditorView.contentAttributes.of({ 'aria-label': label }),
          placeholder('rate(http_server_request_duration_seconds_count[1m])'),
          Prec.highest(keymap.of([{ key: 'Mod-Enter', run: (e) => (run.current(e.state.doc.toString()), true) }])),
          keymap.of([
            ...closeBracketsKeymap,
            ...completionKeymap,
            { key: 'Enter', run: (e) => (run.current(e.state.doc.toString()), true) },
            { key: 'Escape', run: (e) => (e.contentDOM.blur(), true) },
            ...defaultKeymap,
            ...historyKeymap,
          ]),
          EditorView.theme({
            '&': { fontSize: '0.8125rem', backgroundColor: 'var(--c-bg)', color: 'var(--c-text)' },
            '.cm-content': { fontFamily: 'ui-monospace, Menlo, Consolas, monospace', padding: '6px 4px', caretColor: 'var(--c-text)' },
            '&.cm-focused': { outline: 'none' },
            '.cm-placeholder': { color: 'var(--c-dim)' },
          }),
        ],
      }),
    });
    view.current = v;
    return () => v.destroy();
    // The text is the editor's own; what comes from outside is put in below.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [label]);
  useEffect(() => {
    const v = view.current;
    if (v && v.state.doc.toString() !== value) v.dispatch({ changes: { from: 0, to: v.state.doc.length, insert: value } });
  }, [value]);
  return <div ref={host} className="cm-host" data-search />;
}
