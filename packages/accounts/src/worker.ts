import { url } from '@escala/kit/config/config'
import { workerModule } from '@escala/kit/module'
import { cleanCodes } from './codes.ts'
import { accountsData } from './data.ts'
import { cleanFarewells, sendFarewell } from './farewells.ts'
import { sendAccountMail } from './mails.ts'
import { farewellType } from './messages.ts'
import { cleanTokens } from './tokens.ts'

export const accountsWorker = workerModule({
  name: accountsData.name,
  migrations: accountsData.migrations,
  formerly: accountsData.formerly,
  settings: {
    /** Pages of the front end that take a code; the mail links there, with the code behind the `#`. */
    PASSWORD_RESET_URL: url('http', 'https').optional(),
    EMAIL_VERIFICATION_URL: url('http', 'https').optional(),
  },
  lanes: { 'account.mail': 'mail', [farewellType]: 'mail' },
  jobs: ({ postgres, mailer }, settings) => ({
    'account.mail': (job) =>
      sendAccountMail(job, {
        postgres,
        mailer,
        pages: { 'password-reset': settings.PASSWORD_RESET_URL, 'email-verification': settings.EMAIL_VERIFICATION_URL },
      }),
    [farewellType]: (job) => sendFarewell(job, { postgres, mailer }),
    async 'accounts.clean'(job) {
      const codes = await cleanCodes(postgres)
      const tokens = await cleanTokens(postgres)
      const farewells = await cleanFarewells(postgres)
      job.log.info({ codes, tokens, farewells }, 'deleted expired account codes, tokens and addresses')
    },
  }),
  schedules: [{ id: 'accounts-clean', type: 'accounts.clean', every: { ms: 600_000 } }],
})
