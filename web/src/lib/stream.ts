/** Reads JSON lines as they come, those of each piece together. A line that is no JSON is an error of the server's and thrown. */
export async function* readLines<T>(body: ReadableStream<Uint8Array>): AsyncGenerator<T[]> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      const batch = lines.filter(Boolean).map((l) => JSON.parse(l) as T);
      if (batch.length) yield batch;
    }
  } finally {
    reader.releaseLock();
  }
}
