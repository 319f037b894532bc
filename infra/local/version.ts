import { execFileSync } from 'node:child_process'
import { root } from './instance.ts'

/** The commit that is checked out, for VERSION; `-dirty` when files differ from it. */
export function checkedOutVersion(): string {
  try {
    const git = execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return git.toString().trim()
  } catch {
    return 'unknown' // not a git checkout
  }
}
