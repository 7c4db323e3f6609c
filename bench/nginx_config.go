package main

// nginxConfig is the recipe of the registry's documentation; see nginxFront.
// Words in capitals are replaced.
const nginxConfig = `USER
daemon off;
pid DIR/nginx.pid;
worker_processes auto;

events {
  worker_connections 1024;
}

http {
  access_log off;
  error_log DIR/nginx-error.log crit; # not each failed login: nobody else writes one
  client_body_temp_path DIR/nginx-body;
  proxy_temp_path DIR/nginx-proxy;
  fastcgi_temp_path DIR/nginx-fastcgi;
  uwsgi_temp_path DIR/nginx-uwsgi;
  scgi_temp_path DIR/nginx-scgi;

  upstream docker-registry {
    server UPSTREAM;
  }

  map $upstream_http_docker_distribution_api_version $docker_distribution_api_version {
    '' 'registry/2.0';
  }

  server {
    listen ADDRESS ssl http2;
    # As in Debian's configuration.
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    ssl_session_cache shared:SSL:10m;

    client_max_body_size 0;
    chunked_transfer_encoding on;

    location /v2/ {
      if ($http_user_agent ~ "^(docker\/1\.(3|4|5(?!\.[0-9]-dev))|Go ).*$" ) {
        return 404;
      }
      auth_basic "Registry realm";
      auth_basic_user_file HTPASSWD;
      add_header 'Docker-Distribution-Api-Version' $docker_distribution_api_version always;

      proxy_pass http://docker-registry;
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 900;

      # Not of the recipe, and to nginx's advantage.
      proxy_http_version 1.1;
      proxy_request_buffering off;
    }
  }
}
`
