import { cleanup, configure } from '@testing-library/react';
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
vi.mock('uplot/dist/uPlot.min.css', () => ({}));

afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
  localStorage.clear();
});
