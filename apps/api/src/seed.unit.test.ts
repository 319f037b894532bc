import { expect, test } from 'vitest'
import { wantsSeed } from './seed.ts'

test('accounts for development are made when they are asked for, and not with SEED=0', () => {
  expect(['--seed', '--seed=1'].map((option) => wantsSeed(['node', 'migrate.ts', option]))).toEqual([true, true])
  expect(['--seed=0', '--seed=', ''].map((option) => wantsSeed(['node', 'migrate.ts', option]))).toEqual([
    false,
    false,
    false,
  ])
})
