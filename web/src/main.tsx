import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App, queries } from './App';
import { makeRouter } from './router';

const root = document.getElementById('root');
if (!root) throw new Error('BUG: index.html has no root');
createRoot(root).render(
  <StrictMode>
    <App>
      <QueryClientProvider client={queries()}>
        <RouterProvider router={makeRouter()} />
      </QueryClientProvider>
    </App>
  </StrictMode>,
);
