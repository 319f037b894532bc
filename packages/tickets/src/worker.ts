import { integer, url } from '@escala/kit/config/config'
import { workerModule } from '@escala/kit/module'
import { ticketsData } from './data.ts'
import { orderJobs } from './jobs.ts'
import { createPayments, createPaymentsCheck, isProvidersFailure } from './payments.ts'

export const ticketsWorker = workerModule({
  name: 'tickets',
  settings: {
    PAYMENTS_URL: url('http', 'https'),
    PAYMENTS_TIMEOUT_MS: integer(10, 60_000, 5000),
    /** An order that no job has worked on for so long is queued again; well above the time that a job's attempts take. */
    ORDER_STUCK_MS: integer(100, 86_400_000, 60_000),
  },
  migrations: ticketsData.migrations,
  lanes: { 'order.mail': 'mail' },
  jobs({ postgres, outbox, events, breakers, deadLetters, tracing, metrics, mailer }, settings) {
    const provider = { url: settings.PAYMENTS_URL, timeoutMs: settings.PAYMENTS_TIMEOUT_MS }
    const payments = { isFailure: isProvidersFailure, check: createPaymentsCheck(provider) }
    const swept = metrics.counter({
      name: 'orders_swept_total',
      help: 'Orders that the sweep has moved on.',
      labels: { to: ['expired', 'queue'] },
    })
    return orderJobs({
      postgres,
      outbox,
      events,
      deadLetters,
      payments: createPayments({ ...provider, breaker: breakers.of('payments', payments), tracing }),
      mailer,
      stuckMs: settings.ORDER_STUCK_MS,
      onSwept({ expired, emitted }) {
        swept.add(expired, { to: 'expired' })
        swept.add(emitted, { to: 'queue' })
      },
    })
  },
  schedules: [
    { id: 'orders-sweep', type: 'orders.sweep', every: { ms: 5000 } },
    { id: 'reports-sales', type: 'reports.sales', every: { cron: '15 0 * * *' } },
  ],
})
