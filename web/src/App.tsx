import '@mantine/core/styles.css';
import { MantineProvider, createTheme } from '@mantine/core';
import { QueryClient } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { Problem } from './api/client';
import './app.css';
import { PreferencesProvider } from './state/preferences';

const theme = createTheme({
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK KR", "Apple SD Gothic Neo", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  primaryColor: 'blue',
  primaryShade: 9,
  defaultRadius: 4,
  respectReducedMotion: true,
  // Locking the scroll would need styles that carry no nonce.
  components: { Modal: { defaultProps: { lockScroll: false } } },
  fontSizes: { xs: '0.8125rem', sm: '0.8125rem', md: '0.8125rem' },
});

/** What a request may be repeated for: no answer, or one that says to come again. Mistakes stay mistakes. */
export function queries(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        retry: (n, error) => n < 2 && error instanceof Problem && (error.status === 0 || error.status === 429 || error.status === 503),
        staleTime: 2_000,
        refetchOnWindowFocus: false,
      },
    },
  });
}

/** The nonce with which this page may make styles; the server writes it anew for each answer. */
const nonce = () => document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce || '';

export function App({ children }: { children: ReactNode }) {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={nonce}>
      <PreferencesProvider>{children}</PreferencesProvider>
    </MantineProvider>
  );
}
