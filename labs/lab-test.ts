import { expect, inject, test } from 'vitest'
import { halfNames, type Lab, runHalf, titleOf } from './lab.ts'

const replicas = 3

/** The pair of tests that every lab is: the naive half must fail as its page says, and the fix must hold. */
export function labTest<Size>(lab: Lab<Size>): void {
  for (const name of halfNames) {
    test(`${name}: ${titleOf(lab.halves[name], replicas)}`, async ({ skip }) => {
      skip(inject('driver') === 'docker' && lab.localOnly !== undefined, lab.localOnly)
      const checks = await runHalf(lab, name, { size: 'test', replicas, onFailure: (logs) => console.log(logs) })
      const failed = checks.filter(({ ok }) => !ok)
      expect(failed, checks.map((check) => `${check.name}: ${check.value} (${check.expected})`).join('\n')).toEqual([])
    })
  }
}
