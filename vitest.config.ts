import { defineConfig } from 'vitest/config'

// Their replicas may be containers, whose image the project `labs` builds first.
const onWholeClusters = ['packages/testing/src/cluster.test.ts', 'infra/observability/observability.test.ts']

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{apps,packages,infra,labs,scripts}/**/*.unit.test.ts'],
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['{apps,packages,infra}/**/*.test.ts'],
          exclude: ['**/*.{unit,cluster}.test.ts', ...onWholeClusters, '**/node_modules/**'],
          globalSetup: ['packages/testing/src/test-servers.ts'],
          testTimeout: 20_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'labs',
          include: ['{labs,examples}/**/*.test.ts', '{packages,scripts}/**/*.cluster.test.ts', ...onWholeClusters],
          exclude: ['**/*.unit.test.ts', 'scripts/new-module/template/**', '**/node_modules/**'],
          globalSetup: ['packages/testing/src/test-servers.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
