import { createMemoryRateLimits } from '@escala/kit/rate-limits/memory'
import { createMemorySessions } from '@escala/kit/sessions/memory'
import { startApp } from './app.ts'

// Works on one instance. On three, each has sessions and counters of its own.
await startApp(createMemorySessions(), createMemoryRateLimits())
