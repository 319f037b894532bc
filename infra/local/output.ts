/**
 * Lets this program go on when its output cannot be written: the reader of a pipe has gone away (`npm start | head -1`), or a
 * disk is full. Lines are lost then; without a listener, Node ends the program.
 */
export function outliveOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
}
