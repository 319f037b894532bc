/** A thing that is removed on purpose, so that a test must fail. Listed in `labs/<slug>/mutants.ts`. */
export interface Mutant {
  /** What is removed, in the words of the page that credits it: `load shedding`. */
  removed: string
  /** The file that is changed, from the root of the repository. */
  file: string
  /** The text that is replaced: it occurs exactly once in the file. */
  from: string
  to: string
  /** Tests, or folders of tests, of which one must fail. Default: the fixed half of the lab itself. */
  tests?: string[]
}
