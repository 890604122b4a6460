import java.io.File;
import java.nio.file.Files;
import java.util.List;
import vae.ApiClient;
import vae.ApiException;
import vae.api.FormatsApi;
import vae.api.ModelApi;
import vae.model.EncodeRequest;
import vae.model.EncodeResponse;
import vae.model.InterpolateLatentsRequest;
import vae.model.InterpolateRequest;
import vae.model.InterpolateResponse;
import vae.model.Method;
import vae.model.ModelFacts;
import vae.model.NearestLatentsRequest;
import vae.model.NearestRequest;
import vae.model.NearestResponse;
import vae.model.Prior;
import vae.model.Problem;
import vae.model.ProblemCode;
import vae.model.SampleRequest;
import vae.model.SampleResponse;
import vae.model.ScoreRequest;
import vae.model.ScoreResponse;

/** A program with the client of openapi-generator: java Use http://localhost:8000. */
public final class Use {
  private Use() {}

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    ModelApi vae = new ModelApi(client);
    FormatsApi formats = new FormatsApi(client);

    SampleResponse drawn = vae.sample(2, 9007199254740991L, null, null, null, null, null, null, null);
    check(drawn.getSeed() == 9007199254740991L, "a seed of 53 bits");
    check(drawn.getPrior() == Prior.LEARNED, "the prior of the model");
    check(drawn.getLabel() == null, "no label");
    SampleRequest same = new SampleRequest().n(2).seed(9007199254740991L).prior(drawn.getPrior());
    SampleResponse again = vae.samplePost(null, null, null, null, null, null, null, null, null, same);
    check(again.getZ().equals(drawn.getZ()), "the same");

    EncodeResponse posterior = vae.encode(new EncodeRequest().images(drawn.getImages()), null, null, null, null);
    check(posterior.getMu().size() == 2, "one mu for each image");

    InterpolateLatentsRequest ends = new InterpolateLatentsRequest().z(drawn.getZ()).steps(3).method(Method.SLERP);
    InterpolateResponse walk = vae.interpolate(new InterpolateRequest(ends), null, null, null, null, null, null, null, null, null);
    check(walk.getImages().size() == 3, "three images");

    ScoreRequest ofImages = new ScoreRequest().images(drawn.getImages()).importanceSamples(4).seed(1L);
    ScoreResponse scores = vae.score(ofImages, null, null, null, null, null, null, null, null);
    check(scores.getLogPx().size() == 2 && scores.getElbo().get(0) < 0, "one bound for each image");

    NearestLatentsRequest search = new NearestLatentsRequest().z(posterior.getMu()).latents(posterior.getMu()).k(1);
    NearestResponse found = vae.nearest(new NearestRequest(search), null, null, null, null, null, null);
    check(found.getIndices().equals(List.of(List.of(0), List.of(1))), "each is its own neighbour");

    File png = formats.samplePng(1, 7L, null, null, null, null, null, null, null);
    check(new String(Files.readAllBytes(png.toPath()), 1, 3, "US-ASCII").equals("PNG"), "a picture");
    File npy = formats.sampleNpy(2, 7L, null, null, null, null, null, null, null);
    check(new String(Files.readAllBytes(npy.toPath()), 1, 5, "US-ASCII").equals("NUMPY"), "an array");
    check(!formats.sampleTxt(1, 7L, null, null, null, null, null, null, null).isBlank(), "a text");

    try {
      vae.sample(1, null, null, null, null, "nobody", null, null, null);
      throw new AssertionError("an unknown model was accepted");
    } catch (ApiException error) {
      Problem problem = client.getObjectMapper().readValue(error.getResponseBody(), Problem.class);
      check(problem.getCode() == ProblemCode.UNKNOWN_MODEL, "the code of the problem");
      check(problem.getErrors().get(0).getRemedy().contains("GET /models"), "the remedy");
    }

    ModelFacts facts = vae.getModel(vae.listModels().getModels().get(0).getModel());
    check(facts.getLikelihood().getBernoulliLikelihood() != null, "the likelihood");
    System.out.println("ok " + drawn.getModel());
  }

  private static void check(boolean isTrue, String expected) {
    if (!isTrue) {
      throw new AssertionError("expected " + expected);
    }
  }
}
