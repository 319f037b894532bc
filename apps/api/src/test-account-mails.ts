import { accountsWorker } from '@escala/accounts/worker'
import type { Breaker, BreakerCall } from '@escala/kit/breaker/breaker'
import type { Job, JobHandler } from '@escala/kit/jobs/jobs'
import { createLog } from '@escala/kit/log/log'
import { createSmtpMailer } from '@escala/kit/mail/smtp'
import type { WorkerParts } from '@escala/kit/module'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { mailControl, startMail } from '@escala/testing/peers/mail'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const breaker = { run: <T>(call: () => Promise<T>, _?: BreakerCall) => call() } as Breaker

/** The jobs of accounts, and a mail server that keeps what they send. */
export async function startAccountMails() {
  const peer = await startMail()
  const mailer = createSmtpMailer({ smtpUrl: peer.smtpUrl, from: 'escala@example.com', breaker })
  return {
    /** Runs the jobs that the outbox holds, as the worker does. */
    async work(postgres: Postgres): Promise<void> {
      const jobs = accountsWorker.jobs({ postgres, mailer, log } as unknown as WorkerParts, {})
      const { rows } = await postgres.query<{ id: string; type: string; payload: unknown }>(
        "UPDATE outbox SET published_at = now() WHERE published_at IS NULL AND type LIKE 'account%' RETURNING id, type, payload",
      )
      for (const { id, type, payload } of rows) {
        const job: Job = {
          ...{ id: `${type}-${id}`, type, payload, requestId: undefined, traceparent: undefined },
          ...{ attempt: 1, isFirstTry: true, signal: new AbortController().signal, log },
        }
        await (jobs[type] as JobHandler)(job)
      }
    },
    mailsTo: async (email: string) => (await mailControl(peer.url).mails()).filter(({ to }) => to.includes(email)),
    async stop() {
      mailer.stop()
      await peer.stop()
    },
  }
}
