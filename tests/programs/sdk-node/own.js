// The service of `shop.js`, whose own code sets OpenTelemetry's SDK up.
'use strict';
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');

new NodeSDK({ instrumentations: [new HttpInstrumentation()] }).start();
require('./shop.js');
