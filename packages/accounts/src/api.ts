import { apiModule } from '@escala/kit/module.ts'
import { createLogInLimits } from './log-in-limits.ts'
import { logInPath, sessionRoutes } from './routes/session.ts'
import { sessionListRoutes } from './routes/sessions.ts'
import { userRoutes } from './routes/users.ts'
import { accountsSettings } from './settings.ts'

export const accountsApi = apiModule({
  name: 'accounts',
  settings: accountsSettings,
  routes(
    { postgres, passwords, log, logInGuard, deviceCookies, userSessions, limits: { perMinute, ...limits } },
    settings,
  ) {
    const devices = deviceCookies(logInPath)
    const logInLimits = createLogInLimits({
      ...limits,
      guard: logInGuard,
      devices,
      log,
      perAddress: settings.LOG_IN_LIMIT_PER_ADDRESS ?? Math.ceil(perMinute / 4),
    })
    const deps = { postgres, passwords, devices, limits: logInLimits }
    return [...userRoutes(deps), ...sessionRoutes(deps), ...sessionListRoutes({ userSessions })]
  },
})
