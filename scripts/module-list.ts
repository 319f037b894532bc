import { readFileSync, writeFileSync } from 'node:fs'

/** Adds the line of a module to `apps/modules.ts`, as the last one: its tables may refer to those of the others. */
export function addModule(file: string, { name, from }: { name: string; from: string }): void {
  const text = readFileSync(file, 'utf8')
  const changed = text.replace(/\n\]\n$/, `\n  (await import('${from}')).${name},\n]\n`)
  if (changed === text) throw new Error(`${file} does not end with the list of modules`)
  writeFileSync(file, changed)
}
