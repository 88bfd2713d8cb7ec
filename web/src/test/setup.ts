import { cleanup, configure } from '@testing-library/react';
import { type ChangeEvent, type FocusEvent, createElement } from 'react';
import { afterEach, vi } from 'vitest';

// A machine may be busy; what never comes costs this much time once.
configure({ asyncUtilTimeout: 15_000, getElementError: (message) => new Error(message ?? '') });

// What a browser has and jsdom lacks.
Object.defineProperty(window, 'matchMedia', {
  value: (media: string) => ({ matches: false, media, addEventListener: () => {}, removeEventListener: () => {}, addListener: () => {}, removeListener: () => {} }),
});
class Observer {
  observe() {}
  unobserve() {}
  disconnect() {}
}
Object.assign(window, { ResizeObserver: Observer, scrollTo: () => {} });
Element.prototype.scrollIntoView = () => {};
Element.prototype.scrollTo = () => {};
Object.defineProperty(document, 'fonts', { value: new EventTarget() });
// A canvas is for eyes; the real browser's tests look at it.
vi.mock('uplot', () => ({
  default: class {
    static sync = () => ({ key: 'page' });
    over = document.createElement('div');
    setData() {}
    setSize() {}
    destroy() {}
  },
}));
// So is an editor of code, which measures what it draws.
vi.mock('../components/PromQL', () => ({
  PromQL: ({ value, label, onRun, onChange }: { value: string; label: string; onRun: (q: string) => void; onChange?: (q: string) => void }) =>
    createElement('textarea', {
      'aria-label': label,
      defaultValue: value,
      onChange: (e: ChangeEvent<HTMLTextAreaElement>) => onChange?.(e.currentTarget.value),
      onBlur: (e: FocusEvent<HTMLTextAreaElement>) => onRun(e.currentTarget.value),
    }),
}));
vi.mock('uplot/dist/uPlot.min.css', () => ({}));

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  localStorage.clear();
});
