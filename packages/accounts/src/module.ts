import type { Module } from '@escala/kit/module'

/** Users, log-in and sessions. */
export const accounts: Module = {
  data: async () => (await import('./data.ts')).accountsData,
  api: async () => (await import('./api.ts')).accountsApi,
  worker: async () => (await import('./worker.ts')).accountsWorker,
}
