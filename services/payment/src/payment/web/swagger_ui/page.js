// Shows our own description, and no other: nothing in the address can name one, and there is no field for it.
const place = document.getElementById("swagger-ui");
SwaggerUIBundle({
  url: place.dataset.description,
  domNode: place,
  deepLinking: true,
  layout: "BaseLayout", // the standalone one has a field for the address of another description
  persistAuthorization: false, // a key is forgotten with the page
  presets: [SwaggerUIBundle.presets.apis],
  queryConfigEnabled: false, // ?url= and ?configUrl= mean nothing
  validatorUrl: null, // nobody else is asked about it
});
