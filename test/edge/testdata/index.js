// index.js
const express = require('express');
const http = require('http');
const https = require('https');
const fs = require('fs');
const options = {
  ca: fs.readFileSync('ca.crt'), // ルート証明書(必要に応じてファイル名書き換え)
  cert: fs.readFileSync('mtls_bkend.crt'), // サーバーの証明書(必要に応じてファイル名書き換え)
  key: fs.readFileSync('mtls_bkend.key'), // サーバーの秘密鍵(必要に応じてファイル名書き換え)
  rejectUnauthorized: true, // クライアント認証に失敗するとリジェクト
  requestCert: true, // クライアント認証を実施
};
var log4js = require('log4js');
log4js.configure({
  appenders: {
    system: {type: 'file',filename: 'system.log'},  // システムログ
    access: {type: 'file',filename: 'access.log'}   // アクセスログ
  },
  categories: {
    default: {appenders: ['system'],level: 'debug'},
    access: {appenders: ['access'],level: 'info'}
  }
});
var systemLogger = log4js.getLogger();
var accessLogger = log4js.getLogger('access');
const app = express();
app.use(log4js.connectLogger(accessLogger));
app.get('/test1',(req, res) => {           // アクセス先のエンドポイントのパス
  res.status(200).json({
    message: 'Hello mtls'
  });
});


//http.createServer(app).listen(8080,() => {
//  console.log('HTTP listening on 8080....');
//  systemLogger.info('HTTP start');
//});
https.createServer(options,app).listen(443, () => {
  console.log('HTTPS listening on 443....');
  systemLogger.info('HTTPS start');
});
