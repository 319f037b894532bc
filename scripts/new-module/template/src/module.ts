import type { Module } from '@escala/kit/module'

export const placeholders: Module = {
  data: async () => (await import('./data.ts')).placeholdersData,
  api: async () => (await import('./api.ts')).placeholdersApi,
  worker: async () => (await import('./worker.ts')).placeholdersWorker,
}
