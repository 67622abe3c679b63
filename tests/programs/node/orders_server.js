// The gRPC service `shop.Orders`.
const grpc = require('@grpc/grpc-js');

const SLEEP = 60;
const PAUSE = 20;

const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const identity = (bytes) => bytes;

function method(name, requestStream, responseStream) {
  return {
    path: `/shop.Orders/${name}`,
    requestStream,
    responseStream,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
}

const service = {
  Get: method('Get', false, false),
  Sleep: method('Sleep', false, false),
  Missing: method('Missing', false, false),
  Hang: method('Hang', false, false),
  List: method('List', false, true),
  Broken: method('Broken', false, true),
  Watch: method('Watch', false, true),
  Upload: method('Upload', true, false),
  Chat: method('Chat', true, true),
};

const handlers = {
  Get: (call, answer) => answer(null, call.request),
  Sleep: (_call, answer) => setTimeout(() => answer(null, Buffer.from('slept')), SLEEP),
  Missing: (_call, answer) => answer({ code: grpc.status.NOT_FOUND, details: 'no such order' }),
  Hang: () => {},
  List: async (call) => {
    for (let number = 0; number < 5; number++) {
      if (number > 0) await later(PAUSE);
      call.write(Buffer.from(`order ${number}`));
    }
    call.end();
  },
  Broken: (call) => {
    call.write(Buffer.from('one'));
    call.write(Buffer.from('two'));
    call.emit('error', { code: grpc.status.DATA_LOSS, details: 'the rest is gone' });
  },
  Watch: (call) => call.write(Buffer.from('first')),
  Upload: (call, answer) => {
    let count = 0;
    call.on('data', () => count++);
    call.on('end', () => answer(null, Buffer.from(`${count}`)));
  },
  Chat: (call) => {
    call.on('data', (message) => call.write(message));
    call.on('end', () => call.end());
  },
};

const server = new grpc.Server();
server.addService(service, handlers);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`listening ${port}`);
});
