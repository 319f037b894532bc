import type { Mailer } from '@escala/kit/mail/mail'

/** What the mail says. */
export interface Confirmation {
  orderId: string
  number: number
  quantity: number
  totalCents: number
  currency: string
  requestId: string
  traceparent: string | undefined
  /** Whether it has not been tried before. */
  isFirst: boolean
  /** Ends the attempt: the worker stops. */
  signal: AbortSignal
  email: string
  showName: string
  startsAt: Date
}

/** Resolves when the mail server has taken the mail; see `Mailer`. */
export async function sendConfirmation(mailer: Mailer, confirmation: Confirmation): Promise<void> {
  const { orderId, number, quantity, showName, email, requestId, traceparent, isFirst, signal } = confirmation
  await mailer.send({
    // Without the user's name: the address has not been verified yet, so a stranger would get whatever text was typed
    // as a name.
    to: email,
    id: orderId, // one mail for each order
    subject: `Order ${number}: ${quantity} × ${showName}`,
    text: textOf(confirmation),
    requestId,
    traceparent,
    isFirst,
    signal,
  })
}

function textOf({ number, quantity, showName, startsAt, totalCents, currency }: Confirmation): string {
  return [
    `Your order ${number} is confirmed: ${quantity} × ${showName}, ${startsAt.toUTCString()}.`,
    `Paid: ${(totalCents / 100).toFixed(2)} ${currency}`,
    '',
  ].join('\n')
}
