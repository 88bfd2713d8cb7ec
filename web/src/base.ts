// Where the page lives. The server names the base in index.html as steps up from the address asked for; read before
// anything moves the address, it is the same for the whole visit, whatever prefix a proxy put before it.
export const base = new URL('.', document.baseURI);

/** The absolute address of a path of ours, which begins with a slash. */
export function address(path: string): string {
  return new URL(path.replace(/^\//, ''), base).toString();
}
