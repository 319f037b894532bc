import { apiModule } from '@escala/kit/module'
import { createLogInLimits } from './log-in-limits.ts'
import { createMailLimits } from './mail-limits.ts'
import { createCheckPassword, createConfirmUser } from './routes/check-password.ts'
import { meRoutes } from './routes/me.ts'
import { passwordRoutes } from './routes/passwords.ts'
import { logInPath, sessionRoutes } from './routes/session.ts'
import { sessionListRoutes } from './routes/sessions.ts'
import { tokenRoutes } from './routes/tokens.ts'
import { userRoutes } from './routes/users.ts'
import { verificationRoutes } from './routes/verifications.ts'
import { accountsSettings } from './settings.ts'

export const accountsApi = apiModule({
  name: 'accounts',
  settings: accountsSettings,
  routes(parts, settings) {
    const { log, logInGuard, deviceCookies } = parts
    const { perMinute, ...limits } = parts.limits
    const devices = deviceCookies(logInPath)
    const logInLimits = createLogInLimits({
      ...limits,
      guard: logInGuard,
      devices,
      log,
      perAddress: settings.LOG_IN_LIMIT_PER_ADDRESS ?? Math.ceil(perMinute / 4),
    })
    const mailLimits = createMailLimits({ ...limits, log })
    const checkPassword = createCheckPassword({ ...parts, limits: logInLimits })
    const confirmUser = createConfirmUser(checkPassword)
    const deps = { ...parts, devices, limits: logInLimits, mailLimits, checkPassword, confirmUser }
    return [
      ...userRoutes(deps),
      ...sessionRoutes(deps),
      ...sessionListRoutes(deps),
      ...passwordRoutes(deps),
      ...verificationRoutes(deps),
      ...tokenRoutes(deps),
      ...meRoutes({ ...deps, stores: parts.limits.stores }),
    ]
  },
})
