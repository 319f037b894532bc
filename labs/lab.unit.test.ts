import { expect, test } from 'vitest'
import { check, refuses, titleOf } from './lab.ts'
import { nearest } from './nearest.ts'

test('a check says what was expected, and whether it was so', () => {
  expect(check('reads answered 401', 20, { atLeast: 10 })).toMatchObject({ expected: 'at least 10', ok: true })
  expect(check('reads answered 401', 1, { atMost: 0 }).ok).toBe(false)
  expect(check('passed', 150, { between: [140, 150] }).ok).toBe(true)
  expect(check('status', '503', { equals: '503' })).toMatchObject({ value: '503', ok: true })
  expect(check('ratio', 1.98765, { atLeast: 1.9 }).value).toBe(1.99)
  expect(check('nothing measured', Number.NaN, { atMost: 5 }).ok).toBe(false)
})

test('a title may depend on the number of replicas', () => {
  expect(titleOf({ title: (replicas) => `on ${replicas} replicas` }, 5)).toBe('on 5 replicas')
})

test('the nearest slug to a typing error', () => {
  const slugs = ['sessions', 'oversell', 'deploys', 'jobs']
  expect(nearest('session', slugs)).toBe('sessions')
  expect(nearest('overselling', slugs)).toBe('oversell')
  expect(nearest('deploy', slugs)).toBe('deploys')
})

test('a number of replicas that a lab cannot run with is refused with those that it takes', () => {
  expect(refuses({ slug: 'any' }, '9')).toBeUndefined()
  expect(refuses({ slug: 'any' }, '1')).toBe('the lab any takes 2 to 12 replicas, not 1')
  expect(refuses({ slug: 'any' }, 'true')).toBe('the lab any takes 2 to 12 replicas, not true')
  expect(refuses({ slug: 'one', replicas: { min: 3, max: 3 } }, '5')).toBe('the lab one takes 3 replicas, not 5')
})
