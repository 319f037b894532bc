import { expect, test } from 'vitest'
import { fitUsl } from './usl.ts'

test('finds the numbers that made the points', () => {
  const [sigma, kappa] = [0.04, 0.003]
  const points = [1, 2, 3, 4, 6].map((n) => ({
    replicas: n,
    perSecond: (n * 1900) / (1 + sigma * (n - 1) + kappa * n * (n - 1)),
  }))
  const fit = fitUsl(points)
  expect(fit.sigma).toBeCloseTo(sigma, 6)
  expect(fit.kappa).toBeCloseTo(kappa, 6)
})

test('linear scaling has neither', () => {
  const fit = fitUsl([1, 2, 3].map((n) => ({ replicas: n, perSecond: n * 2000 })))
  expect(fit.sigma).toBeCloseTo(0)
  expect(fit.kappa).toBeCloseTo(0)
})
