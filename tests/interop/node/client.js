// A stock Node client of the service. Prints one JSON object: what a unary call, a failing call and a stream gave.
// Usage: node client.js HOST:PORT PROTO_FOLDER GOOGLEAPIS_FOLDER TEXT...
import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'

const [address, protos, googleapis, ...texts] = process.argv.slice(2)
const definition = protoLoader.loadSync('altclip/v1/embedding_service.proto', {
  includeDirs: [protos, googleapis],
  keepCase: true,
  enums: String,
  defaults: true,
})
const { EmbeddingService } = grpc.loadPackageDefinition(definition).altclip.v1
const client = new EmbeddingService(address, grpc.credentials.createInsecure())
const deadline = () => ({ deadline: Date.now() + 20_000 })

const embedText = (request) =>
  new Promise((resolve) =>
    client.EmbedText(request, new grpc.Metadata(), deadline(), (error, response) => resolve({ error, response })))

const embedStream = (items) =>
  new Promise((resolve, reject) => {
    const ids = []
    const call = client.EmbedStream(deadline())
    call.on('data', (response) => ids.push(...response.ids))
    call.on('error', reject)
    call.on('end', () => resolve(ids))
    call.write({ config: {} })
    call.write({ batch: { items } })
    call.end()
  })

const { error, response } = await embedText({ texts })
if (error) throw error
const refused = await embedText({ texts: [] })
const streamed = await embedStream(texts.map((text, index) => ({ id: `item-${index}`, text })))

console.log(JSON.stringify({
  model: response.model,
  count: response.embeddings.count,
  dimension: response.embeddings.dimension,
  data: response.embeddings.data.toString('base64'),
  refused: {
    code: grpc.status[refused.error.code],
    message: refused.error.details,
    has_details: refused.error.metadata.get('grpc-status-details-bin').length === 1,
  },
  streamed,
}))
client.close()
