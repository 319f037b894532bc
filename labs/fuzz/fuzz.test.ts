import { expect, inject, test } from 'vitest'
import { fuzzCluster } from './run.ts'

// A short one, always the same. `npm run fuzz` is the real one.
test('whatever is sent to three replicas, each answer is one that the document has', async ({ skip }) => {
  skip(inject('driver') === 'docker', 'NGINX reads requests from other addresses of this machine')
  const { findings, sent } = await fuzzCluster({ seed: 1, requests: 2000 })
  expect(sent).toBe(2000)
  expect(findings.map(({ what, curl }) => `${what}\n${curl}`).join('\n\n')).toBe('')
}, 120_000)
