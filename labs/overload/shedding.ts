import { problemHandler } from '@escala/kit/http/problem'
import { createOverload } from '@escala/kit/overload/overload'
import express from 'express'
import type { Parts } from '../../apps/api/src/parts.ts'
import { path, slots, withWork } from './handler.ts'

/** The kit's own shedding in front of the same handler: half as many again may wait, one more is refused at once. */
export const apiParts: Partial<Parts> = {
  listener(app) {
    const { middleware } = createOverload({
      maxInFlight: slots * 1.5,
      maxDelayMs: 10_000, // this machine runs the clients, too
      essential: (_method, asked) => asked !== path,
    })
    const work = withWork(app)
    return express()
      .use(middleware)
      .use((req, res) => work(req, res))
      .use(problemHandler)
  },
}
