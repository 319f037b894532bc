import { startMail } from './mail.ts'
import { startPayments } from './payments.ts'

/** Both fakes in one process, for containers: HOST, PAYMENTS_PORT, SMTP_PORT, MAILS_PORT. */
const { HOST: host, PAYMENTS_PORT = '4500', SMTP_PORT = '4525', MAILS_PORT = '4526' } = process.env

const peers = await Promise.all([
  startPayments({ host, port: Number(PAYMENTS_PORT) }),
  startMail({ host, port: Number(SMTP_PORT), httpPort: Number(MAILS_PORT) }),
])
console.log(JSON.stringify({ service: 'peers', msg: 'ready' }))

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await Promise.all(peers.map((peer) => peer.stop()))
    process.exit(0)
  })
}
