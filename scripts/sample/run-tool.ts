import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

/** Runs a tool of `node_modules/.bin` in a checkout, with its output shown. Returns whether it exited with 0. */
export function runTool(root: string, tool: string, args: string[]): boolean {
  const bin = join(root, 'node_modules', '.bin')
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` }
  return spawnSync(join(bin, tool), args, { cwd: root, env, stdio: 'inherit' }).status === 0
}
