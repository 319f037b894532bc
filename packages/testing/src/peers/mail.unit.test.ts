import { createTransport } from 'nodemailer'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type MailControl, type MailServer, mailControl, startMail } from './mail.ts'

let server: MailServer
let mail: MailControl

beforeEach(async () => {
  server = await startMail()
  mail = mailControl(server.url)
})
afterEach(() => server.stop())

const message = {
  from: 'sender@example.com',
  to: 'ann@example.com',
  subject: 'Your things, with a subject so long that a mail client has to fold it over more than one line',
  text: 'Enjoy',
  messageId: '<order-1@example.com>',
  headers: { 'X-Request-Id': 'abc' },
}

test('a mail that arrives twice is one mail with a count of two', async () => {
  const transport = createTransport(server.smtpUrl)
  await transport.sendMail(message)
  await transport.sendMail(message)
  await transport.sendMail({ ...message, messageId: '<order-2@example.com>' })
  expect(await mail.mails()).toMatchObject([
    { messageId: '<order-1@example.com>', to: ['ann@example.com'], subject: message.subject, count: 2 },
    { messageId: '<order-2@example.com>', count: 1, headers: { 'x-request-id': 'abc' } },
  ])
})

test('it refuses as often as configured, then accepts the mail', async () => {
  await mail.behave({ failures: 1 })
  const transport = createTransport(server.smtpUrl)
  await expect(transport.sendMail(message)).rejects.toMatchObject({ responseCode: 451 })
  await transport.sendMail(message)
  expect(await mail.mails()).toMatchObject([{ count: 1 }])
})
