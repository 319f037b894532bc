/** One mail, as plain text. */
export interface Mail {
  /** One address. It is never joined with text that a user chose. */
  to: string
  subject: string
  text: string
  /** The same for every try of one mail: its `Message-ID`, so that a receiver can recognise a duplicate. */
  id: string
  requestId: string | undefined
  traceparent: string | undefined
  /** Whether it has not been tried before. */
  isFirst: boolean
  /** Ends the attempt: the worker stops. */
  signal: AbortSignal
}

export interface Mailer {
  /**
   * Resolves when the mail server has taken the mail. At least once: a second try carries the same `Message-ID`.
   * Throws a `PermanentFailure` when the server refuses for good (a 5xx reply).
   */
  send(mail: Mail): Promise<void>
  /** Closes the connections to the mail server. */
  stop(): void
}
