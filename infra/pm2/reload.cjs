// node reload.cjs ID: what `pm2 reload ID --update-env` should do. The CLI gives PM2's daemon the id as a string; the daemon
// then never recognises the new process's `ready`, and waits for the whole `listen_timeout` (PM2 7.0).
const pm2 = require('pm2')

const finish = (error) => {
  if (error) console.error(error.message ?? error)
  pm2.disconnect()
  process.exit(error ? 1 : 0)
}

pm2.connect((error) => {
  if (error) finish(error)
  else pm2.reload(Number(process.argv[2]), { updateEnv: true }, finish)
})
