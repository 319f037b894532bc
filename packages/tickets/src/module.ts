import type { Module } from '@escala/kit/module'

/** The sample: a ticket shop. */
export const tickets: Module = {
  data: async () => (await import('./data.ts')).ticketsData,
  api: async () => (await import('./api.ts')).ticketsApi,
  worker: async () => (await import('./worker.ts')).ticketsWorker,
}
