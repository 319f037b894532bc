import type { Module } from '@escala/kit/module'

/** A link shortener. */
export const links: Module = {
  data: async () => (await import('./data.ts')).linksData,
  api: async () => (await import('./api.ts')).linksApi,
  worker: async () => (await import('./worker.ts')).linksWorker,
}
