/** The package's own: the same file from `src` and from the compiled files. */
declare module '#package.json' {
  const manifest: { version: string; homepage: string }
  // biome-ignore lint/style/noDefaultExport: a JSON module exports nothing else
  export default manifest
}
