/** NGINX's defaults: a minute for everything, and the replicas in turns. */
export function naiveConf(listen: string, replicas: string[]): string {
  return `
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path tmp_body;
  proxy_temp_path tmp_proxy;
  fastcgi_temp_path tmp_fastcgi;
  uwsgi_temp_path tmp_uwsgi;
  scgi_temp_path tmp_scgi;
  upstream api {
    ${replicas.map((replica) => `server ${replica};`).join('\n    ')}
  }
  server {
    listen ${listen};
    location / {
      proxy_pass http://api;
    }
  }
}
`
}
