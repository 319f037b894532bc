import { type Route, route } from '@escala/kit/http/route'
import { z } from 'zod'
import { redeemVerification } from '../codes.ts'
import { requestMail } from '../messages.ts'
import { code, type PasswordDeps } from './passwords.ts'

type Deps = Pick<PasswordDeps, 'postgres' | 'outbox' | 'limits' | 'mailLimits'>

export function verificationRoutes({ postgres, outbox, limits, mailLimits }: Deps): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/email-verifications',
      summary: "Ask for a mail with a token that verifies the user's address; none is sent when it is verified already",
      access: 'user',
      responses: { 202: { description: 'The mail is on its way' } },
      errors: ['E_RATE_LIMITED'],
      async handle({ user, req, res, requestId, traceparent }) {
        await limits.checkSignUp(req, res) // first: a refused address uses up none of the account's mails
        await mailLimits.checkVerification(req, res, user.id)
        await requestMail(postgres, outbox, user.id, 'email-verification', { requestId, traceparent })
        return { status: 202 }
      },
    }),
    route({
      method: 'put',
      path: '/v1/email-verifications',
      summary: 'Verify an address with a token from a mail; needs no log-in',
      access: 'public',
      ignoresSession: true,
      body: z.strictObject({ token: code }),
      responses: { 204: { description: 'The address is verified' } },
      errors: ['E_TOKEN_INVALID'],
      async handle({ body }) {
        await redeemVerification(postgres, body.token)
        return { status: 204 }
      },
    }),
  ]
}
