import type { Module } from '@escala/kit/module'

/** The domains, one line each, in the order in which their tables are made. Each process loads only its own half of them. */
export const modules: Module[] = [
  (await import('@escala/accounts/module')).accounts,
  (await import('@escala/tickets/module')).tickets,
]
