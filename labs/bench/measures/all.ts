import type { Measure } from '../measure.ts'
// sample
import { hotRow } from '../sample/hot-row.ts'
import { jobs } from '../sample/jobs.ts'
import { order } from '../sample/order.ts'
import { show } from '../sample/show.ts'
// /sample
import { heartbeat } from './heartbeat.ts'
import { idle } from './idle.ts'
import { keepAlive } from './keep-alive.ts'
import { limits } from './limits.ts'
import { memory } from './memory.ts'
import { read } from './read.ts'
import { start } from './start.ts'

/** In the order in which they run. */
export const measures: Measure[] = [
  read,
  // sample
  show,
  order,
  // /sample
  limits,
  keepAlive,
  // sample
  hotRow,
  jobs,
  // /sample
  idle,
  heartbeat,
  start,
  memory,
]
