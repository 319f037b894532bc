import type { Express } from 'express'
import type { Parts } from '../../apps/api/src/parts.ts'

/** What the first answers to "express req.ip behind nginx" say; `TRUST_PROXY` does not take it. */
export const apiParts: Partial<Parts> = {
  listener(app) {
    const express = app as Express
    express.set('trust proxy', true)
    return app
  },
}
