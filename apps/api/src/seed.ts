/** Returns whether a command asks for accounts for development: `--seed`, or `--seed=1`, as Compose makes of `SEED=1`. */
export function wantsSeed(args: string[]): boolean {
  return args.includes('--seed') || args.includes('--seed=1')
}
